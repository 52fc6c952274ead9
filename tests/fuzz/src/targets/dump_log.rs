//! `dump-log` over damaged files of every kind, with batches of every codec: damage is a line in the summary.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::dump_log::{Options, run};

use super::batches::damaged_batch;
use super::data_directory::DIRECTORIES;
use crate::Mutator;

pub(crate) fn case(mutator: &mut Mutator) {
    let directory = mutator.pick(&*DIRECTORIES);
    let (path, mut content) = mutator.pick(&directory.files).clone();
    if path.extension().is_some_and(|extension| extension == "log") && mutator.below(2) == 0 {
        for _ in 0..3 {
            let place = *mutator.pick(&[0, content.len()]);
            content.splice(place..place, damaged_batch(mutator));
        }
    }
    mutator.mutate(&mut content);
    let scratch = Scratch::new();
    let file = scratch.0.join(path.file_name().expect("a file has a name"));
    fs::write(&file, content).expect("the temporary directory can be written to");
    let options = Options {
        deep_iteration: mutator.below(4) != 0,
        print_data_log: mutator.below(2) == 0,
        quiet: mutator.below(4) == 0,
    };
    run(&[file], options, &mut Vec::new()).expect("damage is no error");
}

/// A directory of its own for each case, gone with it.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("millrace-fuzz-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary directory can be written to");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over costs space only.
        let _ = fs::remove_dir_all(&self.0);
    }
}
