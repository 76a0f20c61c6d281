//! What each wave of a recording takes in a file of its own, with all that a file costs, and how much there is in it to
//! take.
//!
//! The entropies are those of single values: of the samples, of the differences of neighbours, and of the differences
//! of those. A coder that looks at one value at a time cannot take less than the least of them.

use super::rig::Rig;
use super::rows;
use crate::table::Table as Text;
use anyhow::Context;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt32Type};
use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use std::collections::{BTreeMap, HashMap};
use wardline_archive::Table;
use wardline_archive::layout::{Effort, encode_plain};
use wardline_proto::codes::by_code;

/// Prints a line for each wave of a recording.
pub(crate) async fn run(rig: &Rig, recording: &str) -> anyhow::Result<()> {
    let mut table = Text::new(
        2,
        &["wave", "recording", "samples", "bytes each", "entropy of samples", "of differences", "of theirs"],
    );
    for file in rig.files(Table::Waveforms).await? {
        let rows = rows(&rig.reader(), &file)?;
        let codes = rows["mdc_code"].as_primitive_opt::<UInt32Type>().context("codes are numbers")?;
        let mut of_code = BTreeMap::<u32, Vec<u32>>::new();
        for (row, code) in codes.values().iter().enumerate() {
            of_code.entry(*code).or_default().push(row as u32);
        }
        for (code, at) in of_code {
            let wave = take_record_batch(&rows, &UInt32Array::from(at))?;
            let name = by_code(code).map_or("", |metric| metric.ref_id);
            table.row(line(name, recording, &wave)?);
        }
    }
    println!("{}", table.render());
    Ok(())
}

fn line(name: &str, recording: &str, wave: &RecordBatch) -> anyhow::Result<Vec<String>> {
    let lists = wave["samples"].as_list_opt::<i32>().context("samples are a list")?;
    let blocks = lists.iter().flatten();
    let samples: Vec<i32> =
        blocks.flat_map(|block| block.as_primitive::<Int32Type>().values().to_vec()).collect();
    let bytes = encode_plain(Table::Waveforms, wave, Effort::Last)?.len();
    let steps = differences(&samples);
    let entropies = [&samples, &steps, &differences(&steps)].map(|of| entropy_bytes(of));
    let mut cells = vec![name.to_owned(), recording.to_owned(), samples.len().to_string()];
    cells.push(format!("{:.2}", bytes as f64 / samples.len() as f64));
    cells.extend(entropies.map(|bytes| format!("{bytes:.2}")));
    Ok(cells)
}

fn differences(values: &[i32]) -> Vec<i32> {
    values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect()
}

/// Returns the entropy of single values, bytes each.
fn entropy_bytes(values: &[i32]) -> f64 {
    let mut counts = HashMap::<i32, u64>::new();
    values.iter().for_each(|value| *counts.entry(*value).or_default() += 1);
    let all = values.len() as f64;
    let bits: f64 = counts.values().map(|n| *n as f64 / all).map(|share| -share * share.log2()).sum();
    bits / 8.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_has_no_entropy_and_256_equal_shares_have_a_byte() {
        assert_eq!(entropy_bytes(&[5; 100]), 0.0);
        assert_eq!(entropy_bytes(&(0..256).collect::<Vec<_>>()), 1.0);
        assert_eq!(entropy_bytes(&differences(&(0..256).collect::<Vec<_>>())), 0.0);
    }
}
