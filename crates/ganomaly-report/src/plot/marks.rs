//! Several numbers for each class, side by side: published and measured.

use super::canvas::{At, GREY, INK, LIGHT, svg};
use super::curves::PALETTE;
use anyhow::{Result, ensure};

/// One mark per class.
#[derive(Clone, Debug)]
pub struct Marks {
    /// For the legend.
    pub name: String,
    /// A ring instead of a disc: a number from elsewhere.
    pub hollow: bool,
    /// AUROC of each class in [0, 1] and its interval, in the order of the classes; nothing is
    /// drawn for none.
    pub values: Vec<Option<(f64, Option<[f64; 2]>)>>,
}

/// Draws the classes on the horizontal axis, the last set apart as their average, and AUROC on the
/// vertical axis.
pub fn marks(title: &str, note: &str, classes: &[String], series: &[Marks]) -> Result<String> {
    ensure!(!series.is_empty() && !classes.is_empty(), "a plot cannot be drawn: no marks");
    const HEIGHT: f64 = 480.0;
    let (left, top, bottom) = (74.0, 64.0, HEIGHT - 34.0 - 20.0 * series.len() as f64);
    // Even with few classes there is room for the legend.
    let column = (560.0 / classes.len() as f64).max(84.0);
    let right = left + column * classes.len() as f64;
    let width = right + 20.0;
    let y = |auroc: f64| bottom - auroc * (bottom - top);
    let x = |class: usize, mark: usize| {
        let step = (0.8 * column / series.len() as f64).min(20.0);
        let middle = left + column * (class as f64 + 0.5);
        middle + step * (mark as f64 - (series.len() - 1) as f64 / 2.0)
    };
    svg((width as u32, HEIGHT as u32), |canvas| {
        canvas.text((width / 2.0, 20.0), title, 18.0, INK, At::Centre)?;
        canvas.text((width / 2.0, 44.0), note, 12.0, GREY, At::Centre)?;
        canvas.text((14.0, (top + bottom) / 2.0), "AUROC", 13.0, INK, At::Upwards)?;
        for tick in 0..=5 {
            let auroc = f64::from(tick) / 5.0;
            canvas.line(&[(left, y(auroc)), (right, y(auroc))], LIGHT, 1)?;
            canvas.text((left - 8.0, y(auroc)), &format!("{auroc:.1}"), 12.0, INK, At::Right)?;
        }
        canvas.line(&[(left, y(0.5)), (right, y(0.5))], GREY, 1)?;
        canvas.text((left - 8.0, y(0.5)), "chance", 11.0, GREY, At::Right)?;
        for (class, name) in classes.iter().enumerate() {
            let edge = left + column * class as f64;
            let last = class + 1 == classes.len();
            let colour = if last { GREY } else { LIGHT };
            canvas.line(&[(edge, top), (edge, bottom)], colour, 1)?;
            canvas.text((edge + column / 2.0, bottom + 14.0), name, 12.0, INK, At::Centre)?;
        }
        canvas.frame((left, top), (right, bottom), GREY)?;
        for (mark, Marks { name, hollow, values }) in series.iter().enumerate() {
            let colour = if *hollow { INK } else { PALETTE[mark % PALETTE.len()] };
            let draw = |at: (f64, f64)| match hollow {
                true => canvas.ring(at, 5, colour, 2),
                false => canvas.disc(at, 5, colour),
            };
            for (class, value) in values.iter().enumerate() {
                let Some((auroc, interval)) = value else { continue };
                let x = x(class, mark);
                if let Some([low, high]) = interval {
                    canvas.line(&[(x, y(*low)), (x, y(*high))], colour, 2)?;
                }
                draw((x, y(*auroc)))?;
            }
            let legend = bottom + 38.0 + 20.0 * mark as f64;
            draw((left + 8.0, legend))?;
            canvas.text((left + 22.0, legend), name, 13.0, INK, At::Left)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_kind_of_mark_is_named() {
        let classes = ["airplane", "average"].map(String::from);
        let all = |name: &str, hollow| Marks {
            name: name.into(),
            hollow,
            values: vec![Some((0.94, Some([0.93, 0.95]))), None],
        };
        let series = [all("published", true), all("honest", false)];
        let svg = marks("t", "n", &classes, &series).unwrap();
        for word in ["airplane", "average", "published", "honest", "chance", "AUROC"] {
            assert!(svg.contains(word), "{word} is not in {svg}");
        }
        // One mark in the plot and one in the legend.
        assert_eq!(svg.matches("<circle").count(), 2 + 2 * 2, "a disc has a disc and its edge");
        assert!(marks("t", "n", &classes, &[]).is_err());
    }
}
