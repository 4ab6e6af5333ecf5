//! AUROC by class, of several kinds side by side.

use super::figure::{Axis, Figure, Ink, Mark, Shape, Size, Ticks};

/// AUROCs of one kind.
#[derive(Clone, Debug)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// A number from elsewhere: rings instead of dots.
    pub elsewhere: bool,
    /// AUROC of each class in [0, 1] and its interval, in the classes' order; none if missing.
    pub values: Vec<Option<(f64, Option<[f64; 2]>)>>,
}

/// Draws the classes of which something is not from elsewhere. `joined`, they are connected by
/// lines, like the paper's figure 4; else the last is set apart as their average.
pub fn by_class(size: Size, classes: &[String], series: &[Series], joined: bool) -> Figure {
    let value = |s: &Series, class: usize| s.values.get(class).copied().flatten();
    let ours = |&class: &usize| series.iter().any(|s| !s.elsewhere && value(s, class).is_some());
    let shown: Vec<usize> = (0..classes.len()).filter(ours).collect();
    let names: Vec<&String> = shown.iter().map(|&class| &classes[class]).collect();
    let x = Axis::names("", &names);
    let mut marks = vec![Mark::dashed(vec![(x.range.0, 0.5), (x.range.1, 0.5)])];
    if !joined {
        let edge = x.range.1 - 1.0;
        marks.push(Mark::new(Shape::Line, vec![(edge, 0.0), (edge, 1.0)], Ink::Muted, 1.0));
    }
    let mut legend = Vec::new();
    let step = (0.8 / series.len() as f64).min(if joined { 0.04 } else { 0.2 });
    for (at, s) in series.iter().enumerate() {
        // Colours that return do so with another shape.
        let (ink, again) = (Ink::Series(at), (at / Ink::SERIES) % 2 == 1);
        let (shape, line) = match s.elsewhere {
            true => (Shape::Ring, Shape::Dashed),
            false if again => (Shape::Diamond, Shape::Line),
            false => (Shape::Dot, Shape::Line),
        };
        // Side by side, so that none hides another.
        let beside = step * (at as f64 - (series.len() - 1) as f64 / 2.0);
        let mut points = Vec::new();
        for (x, &class) in (0..).map(f64::from).zip(&shown) {
            let Some((auroc, interval)) = value(s, class) else { continue };
            points.push((x + beside, auroc));
            let ends = interval.map(|ends| ends.map(|v| (x + beside, v.clamp(0.0, 1.0))));
            marks.extend(ends.map(|ends| Mark::line(ends.to_vec(), ink)));
        }
        if joined {
            marks.push(Mark::new(line, points.clone(), ink, 1.75));
        }
        marks.push(Mark::new(shape, points, ink, 4.5));
        legend.push((ink, shape, s.name.clone()));
    }
    legend.push((Ink::Muted, Shape::Dashed, "chance".into()));
    Figure::new(size, x, Axis::new("AUROC", (0.0, 1.02), Ticks::Numbers(6)), marks).legend(legend)
}

#[cfg(test)]
mod tests {
    use super::super::figure::tests::check;
    use super::*;

    #[test]
    fn every_class_that_ran_and_kind_is_named() {
        let classes = ["airplane", "bird", "average"].map(String::from);
        let values = vec![Some((0.94, Some([0.93, 0.95]))), None, Some((0.9, None))];
        let all =
            |name: &str, elsewhere| Series { name: name.into(), elsewhere, values: values.clone() };
        let series = [all("published", true), all("honest", false)];
        for joined in [false, true] {
            let svg =
                by_class((400.0, 300.0), &classes, &series, joined).to_file("t", "n").unwrap();
            check(&svg, &["airplane", "average", "published", "honest", "chance", "AUROC"]);
            assert!(!svg.contains("bird"));
            assert_eq!(svg.matches("<circle").count(), 6, "two classes and the legend");
        }
    }
}
