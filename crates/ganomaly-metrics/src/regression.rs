//! Linear regression by least squares.

use crate::ranking::check_finite;
use crate::{Error, Interval, Result};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// One coefficient of a [`LinearFit`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    /// The estimate: the change of the response per unit of the predictor, with the others fixed.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Its confidence interval by Student's t with the fit's degrees of freedom.
    pub interval: Interval,
    /// Two-sided p value of the hypothesis that it is zero.
    pub p: f64,
}

/// A fit `y = c₀ + Σ cⱼ xⱼ`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearFit {
    /// The intercept, then a coefficient for each predictor.
    pub coefficients: Vec<Coefficient>,
    /// Share of the response's variance that is explained, in [0, 1].
    pub r_squared: f64,
    /// Observations minus coefficients.
    pub degrees_of_freedom: usize,
}

/// Ordinary least squares of `y` on the predictors (one row per observation, without the
/// intercept), with confidence intervals of the given level. There must be more observations than
/// coefficients, and no predictor may be constant or a linear combination of others.
pub fn linear_regression(rows: &[Vec<f64>], y: &[f64], level: f64) -> Result<LinearFit> {
    if rows.len() != y.len() {
        return Err(Error::Unpaired { a: rows.len(), b: y.len() });
    }
    check_finite(y)?;
    let k = rows.first().map_or(0, Vec::len) + 1;
    if let Some(row) = rows.iter().find(|row| row.len() + 1 != k) {
        return Err(Error::Unpaired { a: k - 1, b: row.len() });
    }
    rows.iter().try_for_each(|row| if row.is_empty() { Ok(()) } else { check_finite(row) })?;
    if y.len() <= k || !(level > 0.0 && level < 1.0) {
        return Err(Error::Parameter(format!(
            "{} observations for {k} coefficients at level {level}: more observations than coefficients are needed, and a level in (0, 1)",
            y.len()
        )));
    }
    let design: Vec<Vec<f64>> = rows.iter().map(|row| [&[1.0], row.as_slice()].concat()).collect();
    let product = |i: usize, j: usize| design.iter().map(|r| r[i] * r[j]).sum::<f64>();
    let normal: Vec<Vec<f64>> = (0..k).map(|i| (0..k).map(|j| product(i, j)).collect()).collect();
    let inverse = inverse(normal).ok_or_else(|| {
        Error::Parameter("the predictors do not vary independently of each other".into())
    })?;
    let moments: Vec<f64> =
        (0..k).map(|i| design.iter().zip(y).map(|(r, y)| r[i] * y).sum()).collect();
    let values: Vec<f64> = inverse.iter().map(|row| dot(row, &moments)).collect();
    let residual: f64 = design.iter().zip(y).map(|(r, y)| (y - dot(r, &values)).powi(2)).sum();
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    let total: f64 = y.iter().map(|y| (y - mean).powi(2)).sum();
    let degrees = y.len() - k;
    let student =
        StudentsT::new(0.0, 1.0, degrees as f64).map_err(|e| Error::Parameter(e.to_string()))?;
    let reach = student.inverse_cdf(f64::midpoint(1.0, level));
    let coefficient = |(i, value): (usize, f64)| {
        let standard_error = (residual / degrees as f64 * inverse[i][i]).sqrt();
        let half = reach * standard_error;
        Coefficient {
            value,
            standard_error,
            interval: Interval { low: value - half, high: value + half },
            p: 2.0 * student.cdf(-(value / standard_error).abs()),
        }
    };
    Ok(LinearFit {
        coefficients: values.iter().copied().enumerate().map(coefficient).collect(),
        r_squared: if total > 0.0 { (1.0 - residual / total).clamp(0.0, 1.0) } else { 0.0 },
        degrees_of_freedom: degrees,
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Gauss-Jordan elimination with row pivots; `None` if the matrix is singular to rounding.
fn inverse(mut m: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let n = m.len();
    let scale = m.iter().flatten().fold(0.0, |high: f64, v| high.max(v.abs()));
    for (i, row) in m.iter_mut().enumerate() {
        row.extend((0..n).map(|j| if i == j { 1.0 } else { 0.0 }));
    }
    for column in 0..n {
        let pivot =
            (column..n).max_by(|&i, &j| m[i][column].abs().total_cmp(&m[j][column].abs()))?;
        if m[pivot][column].abs() <= 1e-12 * scale {
            return None;
        }
        m.swap(column, pivot);
        let by = m[column][column];
        m[column].iter_mut().for_each(|v| *v /= by);
        let row = m[column].clone();
        for (_, other) in m.iter_mut().enumerate().filter(|(i, _)| *i != column) {
            let by = other[column];
            other.iter_mut().zip(&row).for_each(|(v, r)| *v -= by * r);
        }
    }
    Some(m.into_iter().map(|row| row[n..].to_vec()).collect())
}
