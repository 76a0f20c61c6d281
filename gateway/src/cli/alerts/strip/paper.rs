//! A strip as a picture: ECG paper, 25 mm a second and 10 mm a millivolt, at its true size in the PNG.

use super::trace::{Trace, Window};
use anyhow::Context;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_9X15;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Line, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use std::convert::Infallible;

const PIXELS_PER_MM: i32 = 5;
const MM_PER_SECOND: f64 = 25.0;
const MM_PER_MV: f64 = 10.0;
/// Height of one waveform, millimetres.
const TRACE_MM: i32 = 40;
/// Above each: its name.
const LABEL_PIXELS: i32 = 20;
/// What another unit than that of an ECG may take of the height, millimetres.
const FIT_MM: f64 = 30.0;
/// More would be no strip.
const TRACES_MAX: usize = 16;

const PAPER: Rgb888 = Rgb888::new(255, 250, 247);
const FINE: Rgb888 = Rgb888::new(250, 222, 215);
const COARSE: Rgb888 = Rgb888::new(238, 172, 160);
const INK: Rgb888 = Rgb888::new(20, 20, 20);
const SHADE: Rgb888 = Rgb888::new(205, 205, 205);
const MARK: Rgb888 = Rgb888::new(190, 20, 20);

/// How values become height.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    /// The value on the middle line.
    middle: f64,
    mm_per_unit: f64,
    /// What it says beside the name.
    pub(super) said: String,
}

/// Chooses the scale of a trace: the standard one for an ECG, otherwise one of 1, 2 or 5 that fits.
pub(super) fn scale(trace: &Trace) -> Scale {
    let values = || trace.runs.iter().flatten().map(|(_, value)| *value);
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return Scale { middle: 0.0, mm_per_unit: 1.0, said: "no samples".into() };
    }
    let mut sorted: Vec<f64> = values().collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(low);
    match trace.ucum_unit.as_str() {
        "mV" => Scale { middle: median, mm_per_unit: MM_PER_MV, said: "10 mm/mV".into() },
        "uV" => Scale { middle: median, mm_per_unit: MM_PER_MV / 1000.0, said: "10 mm/mV".into() },
        unit => {
            let per_cm = nice((high - low).max(f64::MIN_POSITIVE) * 10.0 / FIT_MM);
            Scale {
                middle: (high + low) / 2.0,
                mm_per_unit: 10.0 / per_cm,
                said: format!("10 mm = {per_cm} {unit}"),
            }
        }
    }
}

/// Returns the next of 1, 2, 5 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= value).unwrap_or(10.0);
    nice * power
}

/// Draws the traces; returns the PNG.
pub(super) fn png(traces: &[Trace], window: Window, title: &str) -> anyhow::Result<Vec<u8>> {
    let seconds = (window.to_us - window.from_us) as f64 / 1e6;
    let width = (seconds * MM_PER_SECOND) as i32 * PIXELS_PER_MM + 1;
    let count = i32::try_from(traces.len().clamp(1, TRACES_MAX)).unwrap_or(1);
    let height = LABEL_PIXELS + count * (LABEL_PIXELS + TRACE_MM * PIXELS_PER_MM);
    let mut sheet = Sheet::new(width, height);
    sheet.text(4, 2, title);
    for (number, trace) in (0..count).zip(traces) {
        let top = LABEL_PIXELS + number * (LABEL_PIXELS + TRACE_MM * PIXELS_PER_MM);
        draw(&mut sheet, trace, window, top);
    }
    sheet.encode()
}

fn draw(sheet: &mut Sheet, trace: &Trace, window: Window, top: i32) {
    let scale = scale(trace);
    sheet.text(4, top + 2, &format!("{}  25 mm/s  {}", trace.mdc_ref_id, scale.said));
    let top = top + LABEL_PIXELS;
    let height = TRACE_MM * PIXELS_PER_MM;
    let x = |at_us: i64| {
        let seconds = (at_us - window.from_us) as f64 / 1e6;
        (seconds * MM_PER_SECOND * f64::from(PIXELS_PER_MM)).round() as i32
    };
    let y = |value: f64| {
        let mm = f64::from(TRACE_MM) / 2.0 - (value - scale.middle) * scale.mm_per_unit;
        top + (mm * f64::from(PIXELS_PER_MM)).round().clamp(0.0, f64::from(height)) as i32
    };
    sheet.grid(top, height);
    for gap in &trace.gaps {
        sheet.shade((x(gap.from_us), top), (x(gap.to_us), top + height));
        sheet.text(x(gap.from_us) + 4, top + height - 18, gap.why.name());
    }
    for run in &trace.runs {
        let points: Vec<Point> = run.iter().map(|(at, value)| Point::new(x(*at), y(*value))).collect();
        for pair in points.windows(2) {
            sheet.line(pair[0], pair[1], INK, 2);
        }
    }
    sheet.line(Point::new(x(window.onset_us), top), Point::new(x(window.onset_us), top + height), MARK, 1);
    sheet.text(x(window.onset_us) + 4, top + 2, "onset");
}

/// Pixels.
struct Sheet {
    width: i32,
    height: i32,
    pixels: Vec<u8>,
}

impl Sheet {
    fn new(width: i32, height: i32) -> Self {
        let count = usize::try_from(width * height).unwrap_or(0);
        let pixels = [PAPER.r(), PAPER.g(), PAPER.b()].repeat(count);
        Self { width, height, pixels }
    }

    fn grid(&mut self, top: i32, height: i32) {
        for (step, colour) in [(PIXELS_PER_MM, FINE), (5 * PIXELS_PER_MM, COARSE)] {
            for x in (0..self.width).step_by(usize::try_from(step).unwrap_or(1)) {
                self.line(Point::new(x, top), Point::new(x, top + height), colour, 1);
            }
            for y in (top..=top + height).step_by(usize::try_from(step).unwrap_or(1)) {
                self.line(Point::new(0, y), Point::new(self.width, y), colour, 1);
            }
        }
    }

    fn shade(&mut self, (left, top): (i32, i32), (right, bottom): (i32, i32)) {
        let area = Rectangle::with_corners(Point::new(left, top), Point::new(right, bottom));
        let Ok(()) = area.into_styled(PrimitiveStyle::with_fill(SHADE)).draw(self);
    }

    fn line(&mut self, from: Point, to: Point, colour: Rgb888, width: u32) {
        let style = PrimitiveStyle::with_stroke(colour, width);
        let Ok(()) = Line::new(from, to).into_styled(style).draw(self);
    }

    fn text(&mut self, x: i32, y: i32, text: &str) {
        let style = MonoTextStyle::new(&FONT_9X15, INK);
        let Ok(_next) = Text::with_baseline(text, Point::new(x, y), style, Baseline::Top).draw(self);
    }

    fn encode(self) -> anyhow::Result<Vec<u8>> {
        let mut out = Vec::new();
        let size = |side: i32| u32::try_from(side).context("a side of the picture");
        let mut encoder = png::Encoder::new(&mut out, size(self.width)?, size(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let per_metre = size(PIXELS_PER_MM * 1000)?;
        encoder.set_pixel_dims(Some(png::PixelDimensions {
            xppu: per_metre,
            yppu: per_metre,
            unit: png::Unit::Meter,
        }));
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(out)
    }
}

impl OriginDimensions for Sheet {
    fn size(&self) -> Size {
        Size::new(u32::try_from(self.width).unwrap_or(0), u32::try_from(self.height).unwrap_or(0))
    }
}

impl DrawTarget for Sheet {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            if (0..self.width).contains(&x) && (0..self.height).contains(&y) {
                let at = usize::try_from(y * self.width + x).unwrap_or(usize::MAX / 4) * 3;
                if let Some(pixel) = self.pixels.get_mut(at..at + 3) {
                    pixel.copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::{Gap, Why};
    use super::*;

    fn trace(unit: &str, high: f64) -> Trace {
        let run = (0..100).map(|n| (n * 10_000, if n == 50 { high } else { 0.0 })).collect();
        let gaps = vec![Gap { from_us: 1_000_000, to_us: 2_000_000, why: Why::Missing }];
        let (mdc_ref_id, ucum_unit) = ("MDC_ECG_LEAD_II".into(), unit.into());
        Trace { mdc_code: 131_330, mdc_ref_id, ucum_unit, runs: vec![run], gaps }
    }

    #[test]
    fn an_ecg_has_the_standard_scale_and_others_one_that_fits() {
        assert_eq!(scale(&trace("mV", 1.0)).said, "10 mm/mV");
        assert_eq!(scale(&trace("uV", 1.0)).mm_per_unit, 0.01);
        let pleth = scale(&trace("1", 700.0));
        assert_eq!(pleth.said, "10 mm = 500 1");
        assert!(700.0 * pleth.mm_per_unit <= FIT_MM);
        assert_eq!([nice(0.3), nice(1.0), nice(1.1), nice(70.0)], [0.5, 1.0, 2.0, 100.0]);
    }

    /// A millivolt is 50 pixels high, a second 125 wide, a gap is grey, and the file says its true size.
    #[test]
    fn a_picture_is_to_scale() {
        let window = Window { from_us: 0, to_us: 2_000_000, onset_us: 700_000, settled_us: i64::MAX };
        let bytes = png(&[trace("mV", 1.0)], window, "mon-1").unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let dims = reader.info().pixel_dims.unwrap();
        assert_eq!((dims.xppu, dims.unit), (5000, png::Unit::Meter));
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (251, 240));
        let at = |x: usize, y: usize| &pixels[(y * 251 + x) * 3..][..3];
        let rows_of = |x: usize| (40..240).filter(|y| at(x, *y) == [20, 20, 20]).collect::<Vec<_>>();
        // The sample of 0.5 s is at 62 or 63, its peak a millivolt above the line in the middle, 140.
        let top = (60..66).flat_map(rows_of).min().unwrap();
        assert!((89..=91).contains(&top), "{top}");
        assert_eq!(at(200, 100), [205, 205, 205]);
        assert_eq!(at(88, 100), [190, 20, 20], "onset");
    }
}
