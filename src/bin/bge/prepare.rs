//! `bge prepare`: builds TensorRT's engines of a model, once for each kind of GPU.

use std::io::{Write, stderr};
use std::time::Instant;

use bge::{OpenOptions, Prepared, prepare};

use crate::arguments::ModelArgs;
use crate::failure::Failure;
use crate::output::print;

pub(crate) fn run(model: &ModelArgs, max_tokens: usize) -> Result<(), Failure> {
    let options = OpenOptions { max_tokens, ..model.options() };
    let started = Instant::now();
    // Lines and not a bar: each takes minutes, and they may go to a log.
    let prepared = prepare(&model.dir, &options, &mut |done, total| {
        let seconds = started.elapsed().as_secs();
        let _ = writeln!(stderr(), "bge: {done} of {total} engines after {seconds} s");
    })?;
    let seconds = started.elapsed().as_secs();
    let line = |Prepared { folder, engines, was_there, .. }: &Prepared| {
        let folder = folder.display();
        match was_there {
            true => format!("{folder}: {engines} engines, which were there\n"),
            false => format!("{folder}: {engines} engines after {seconds} s\n"),
        }
    };
    print(&prepared.iter().map(line).collect::<String>())
}
