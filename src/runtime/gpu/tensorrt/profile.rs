//! The lengths and numbers of texts that each engine is built for, and the texts that run together
//! in it.

use std::path::{Path, PathBuf};

use crate::error::{Result, error};

/// The longest texts of the first engine.
const SHORTEST: usize = 32;
/// Ratio of the greatest lengths of neighboring engines. A full batch therefore uses at least a
/// quarter of the tokens of its engine.
const STEP: usize = 4;

/// The greatest number of texts and of tokens in each that an engine takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub length: usize,
    pub texts: usize,
}

impl Profile {
    /// The graph that names the engine, in a folder of its own: ONNX Runtime gives all engines of a
    /// graph the same name, and writes them beside it.
    pub fn file_in(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}x{}", self.texts, self.length)).join("engine.onnx")
    }

    /// The shapes of the inputs in the syntax of ONNX Runtime's options: the least, or the
    /// greatest, for which the engine is optimized.
    pub fn shapes(self, has_multi: bool, least: bool) -> String {
        let (texts, length, rows) = match least {
            true => (1, 1, 1),
            false => (self.texts, self.length, self.texts * self.length),
        };
        let mut shapes: Vec<String> = ["input_ids", "position_ids", "attention_mask"]
            .map(|name| format!("{name}:{texts}x{length}"))
            .to_vec();
        shapes.push(format!("rows:{rows}"));
        if has_multi {
            shapes.push(format!("multi_rows:{rows}"));
        }
        shapes.join(",")
    }
}

/// A profile for each range of lengths up to the longest, each for as many texts as fit a batch.
pub(super) fn profiles(longest: usize, run_tokens: usize) -> Vec<Profile> {
    let steps = std::iter::successors(Some(SHORTEST), |length| Some(length * STEP));
    // The last range has no profile of its own if it is hardly longer than the one before.
    let lengths = steps.take_while(|length| length * 2 <= longest).chain([longest]);
    lengths.map(|length| Profile { length, texts: (run_tokens / length).max(1) }).collect()
}

/// Texts that run together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The index of the engine.
    pub engine: usize,
    /// The indices of the texts, the longest last.
    pub texts: Vec<usize>,
}

/// Divides texts of these lengths among engines.
pub(super) fn groups(
    lengths: &[usize],
    profiles: impl Iterator<Item = Profile>,
) -> Result<Vec<Group>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&text| lengths[text]);
    let mut rest = order.as_slice();
    let mut groups = Vec::new();
    for (engine, profile) in profiles.enumerate() {
        let fitting = rest.partition_point(|&text| lengths[text] <= profile.length);
        let (texts, longer) = rest.split_at(fitting);
        let full = texts.chunks(profile.texts);
        groups.extend(full.map(|texts| Group { engine, texts: texts.to_vec() }));
        rest = longer;
    }
    match rest.last() {
        None => Ok(groups),
        Some(&text) => Err(error!(Internal, "no engine takes a text of {} tokens", lengths[text])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(longest: usize) -> Vec<usize> {
        profiles(longest, 16384).iter().map(|profile| profile.length).collect()
    }

    #[test]
    fn engines_are_for_ranges_up_to_the_longest_text() {
        assert_eq!(lengths(8192), [32, 128, 512, 2048, 8192]);
        assert_eq!(lengths(512), [32, 128, 512]);
        assert_eq!(lengths(514), [32, 128, 514]);
        assert_eq!(lengths(1024), [32, 128, 512, 1024]);
        assert_eq!(lengths(33), [33]);
        assert_eq!(lengths(2), [2]);
        let texts: Vec<_> = profiles(8192, 16384).iter().map(|profile| profile.texts).collect();
        assert_eq!(texts, [512, 128, 32, 8, 2]);
        assert_eq!(profiles(8192, 100).last(), Some(&Profile { length: 8192, texts: 1 }));
    }

    #[test]
    fn every_text_runs_once_where_it_fits() {
        let profiles = [Profile { length: 4, texts: 2 }, Profile { length: 9, texts: 1 }];
        let groups = |lengths: &[usize]| groups(lengths, profiles.into_iter());
        let group = |engine, texts: &[usize]| Group { engine, texts: texts.to_vec() };
        assert_eq!(
            groups(&[3, 9, 2, 4, 5]).unwrap(),
            [group(0, &[2, 0]), group(0, &[3]), group(1, &[4]), group(1, &[1])]
        );
        assert_eq!(groups(&[]).unwrap(), []);
        assert!(groups(&[10]).is_err());
    }

    #[test]
    fn shapes_are_as_onnx_runtime_reads_them() {
        let profile = Profile { length: 8, texts: 3 };
        assert_eq!(
            profile.shapes(true, true),
            "input_ids:1x1,position_ids:1x1,attention_mask:1x1,rows:1,multi_rows:1"
        );
        assert_eq!(
            profile.shapes(false, false),
            "input_ids:3x8,position_ids:3x8,attention_mask:3x8,rows:24"
        );
        assert_eq!(profile.file_in(Path::new("a")), Path::new("a/3x8/engine.onnx"));
    }
}
