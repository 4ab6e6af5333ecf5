//! Scores sorted once with ties grouped: the basis of every curve.

use crate::{Error, Result};

/// The numbers of normal and anomalous scores that share one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tie {
    pub score: f64,
    pub normal: usize,
    pub anomalous: usize,
}

/// Groups of equal scores, highest first, with their totals.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    pub groups: Vec<Tie>,
    pub normal: usize,
    pub anomalous: usize,
}

impl Ranking {
    pub fn new(scores: &[f64], anomalous: &[bool]) -> Result<Self> {
        if scores.len() != anomalous.len() {
            return Err(Error::LengthMismatch { scores: scores.len(), labels: anomalous.len() });
        }
        check_finite(scores)?;
        let positives = anomalous.iter().filter(|&&a| a).count();
        if positives == 0 || positives == scores.len() {
            return Err(Error::SingleClass { count: scores.len(), anomalous: positives > 0 });
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut groups: Vec<Tie> = Vec::new();
        for i in order {
            // Compared by value: 0 and −0 are the same score.
            if groups.last().is_none_or(|g| g.score != scores[i]) {
                groups.push(Tie { score: scores[i], normal: 0, anomalous: 0 });
            }
            if let Some(group) = groups.last_mut() {
                if anomalous[i] {
                    group.anomalous += 1;
                } else {
                    group.normal += 1;
                }
            }
        }
        Ok(Self { groups, normal: scores.len() - positives, anomalous: positives })
    }

    /// The group that each of the ranked scores belongs to.
    pub fn places(&self, scores: &[f64]) -> Vec<u32> {
        let place = |score: &f64| self.groups.partition_point(|g| g.score > *score) as u32;
        scores.iter().map(place).collect()
    }

    /// How many normal and anomalous scores each group has, highest scores first.
    pub fn counts(&self) -> impl Iterator<Item = (usize, usize)> {
        self.groups.iter().map(|g| (g.normal, g.anomalous))
    }

    /// After each group, highest scores first: the group's score, and the counts of normal and
    /// anomalous scores at or above it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, usize, usize)> {
        self.groups.iter().scan((0, 0), |(normal, anomalous), g| {
            *normal += g.normal;
            *anomalous += g.anomalous;
            Some((g.score, *normal, *anomalous))
        })
    }
}

/// Rejects an empty slice, NaN and infinities.
pub(crate) fn check_finite(scores: &[f64]) -> Result<()> {
    if scores.is_empty() {
        return Err(Error::Empty);
    }
    match scores.iter().position(|s| !s.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NonFinite { index, value: scores[index] }),
    }
}
