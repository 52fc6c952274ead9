//! Who may read what this process creates.

/// Permissions that new files and directories do not give: writing to the group, anything to others.
const WITHHELD: libc::mode_t = 0o027;

/// Makes all files that this process creates from now on readable for their owner and group only (0640, directories 0750).
/// What the process withheld before, it still does. To be called before other threads create files.
pub fn keep_new_files_private() {
    // SAFETY: no memory is involved, and it cannot fail.
    let before = unsafe { libc::umask(WITHHELD) };
    // SAFETY: as above.
    unsafe { libc::umask(before | WITHHELD) };
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn others_may_not_read_what_is_created() {
        keep_new_files_private();
        let dir = std::env::temp_dir().join(format!("millrace-new-files-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("file"), b"").unwrap();
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let modes = (mode(&dir), mode(&dir.join("file")));
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(modes, (0o750, 0o640));
    }
}
