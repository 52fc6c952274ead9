//! Runs every check of `millrace doctor`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::doctor::{Finding, Report, examine_host};
use super::host_facts::HostFacts;

/// Examines this machine and the place where the data is or will be. Leaves nothing behind.
#[must_use]
pub fn diagnose(data_dir: &Path) -> Report {
    let mut findings = examine_host(&HostFacts::read(data_dir));
    findings.push(data_directory(data_dir));
    Report { findings }
}

/// Whether files can be made durable in the data directory, or where it would be created.
fn data_directory(data_dir: &Path) -> Finding {
    const CHECK: &str = "data directory";
    let place = match nearest_directory(data_dir) {
        Ok(place) => place,
        Err(error) => return Finding::failure(CHECK, error, "name a directory with --data-dir"),
    };
    match write_and_sync(&place) {
        Ok(()) if place == data_dir => Finding::good(CHECK, format!("{} can be written", data_dir.display())),
        Ok(()) => Finding::good(CHECK, format!("{} can be created", data_dir.display())),
        Err(error) => Finding::failure(
            CHECK,
            format!("{} cannot be written: {error}", place.display()),
            "give it to the user that runs the broker, or name another one with --data-dir",
        ),
    }
}

/// `path` itself or the nearest part of it that exists; an error where that is not a directory.
fn nearest_directory(path: &Path) -> Result<PathBuf, String> {
    for candidate in path.ancestors() {
        let candidate = if candidate.as_os_str().is_empty() { Path::new(".") } else { candidate };
        match fs::metadata(candidate) {
            Ok(metadata) if metadata.is_dir() => return Ok(candidate.to_owned()),
            Ok(_) => return Err(format!("{} is not a directory", candidate.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", candidate.display())),
        }
    }
    Err(format!("{} does not exist", path.display()))
}

fn write_and_sync(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".millrace-doctor-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
    written.and(fs::remove_file(&path))
}

#[cfg(test)]
mod tests {
    use super::super::doctor::Verdict;
    use super::*;

    #[test]
    fn the_data_directory_is_tried_and_left_as_it_was() {
        let root = std::env::temp_dir().join(format!("millrace-diagnose-test-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("file"), b"").unwrap();
        let cases = [
            ("", Verdict::Good, "can be written"),
            ("new/deep", Verdict::Good, "can be created"),
            ("file", Verdict::Failure, "is not a directory"),
            ("file/below", Verdict::Failure, "Not a directory"),
        ];
        let found: Vec<_> = cases.iter().map(|(path, _, _)| data_directory(&root.join(path))).collect();
        let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        fs::remove_dir_all(&root).unwrap();
        for ((path, verdict, part), finding) in cases.iter().zip(found) {
            assert_eq!(finding.verdict, *verdict, "{path}: {}", finding.found);
            assert!(finding.found.contains(part), "{path}: {}", finding.found);
        }
        assert_eq!(left, ["file"]);
    }
}
