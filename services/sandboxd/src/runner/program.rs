//! Finds the program that a launch names, so that a mistake has a name before anything is started.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FileType};
use rustix::io::Errno;

use crate::protocol::Why;

/// The working directory, which must be one.
///
/// # Errors
/// [`Why::CwdMissing`], [`Why::CwdNotDirectory`] or [`Why::Denied`].
pub(super) fn check_cwd(cwd: &str) -> Result<(), Why> {
    match rustix::fs::stat(cwd) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
        Ok(_) | Err(Errno::NOTDIR) => Err(Why::CwdNotDirectory),
        Err(Errno::ACCESS) => Err(Why::Denied),
        Err(_) => Err(Why::CwdMissing),
    }
}

/// The file of a program: by its path, relative to `cwd`, or by the first directory of `path` that has it.
///
/// # Errors
/// [`Why::ProgramMissing`], [`Why::ProgramIsDirectory`] or [`Why::ProgramNotExecutable`]. Of several candidates
/// in `path` that cannot be started the first says why.
pub(super) fn find(program: &str, path: &str, cwd: &str) -> Result<PathBuf, Why> {
    if program.is_empty() {
        return Err(Why::ProgramMissing);
    }
    if program.contains('/') {
        return check(Path::new(cwd).join(program));
    }
    let mut first = None;
    for directory in path
        .split(':')
        .filter(|directory| directory.starts_with('/'))
    {
        match check(Path::new(directory).join(program)) {
            Ok(found) => return Ok(found),
            Err(Why::ProgramMissing) => {}
            Err(why) => first = first.or(Some(why)),
        }
    }
    Err(first.unwrap_or(Why::ProgramMissing))
}

fn check(candidate: PathBuf) -> Result<PathBuf, Why> {
    let bytes = candidate.as_os_str().as_bytes();
    match rustix::fs::stat(bytes).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Directory) => Err(Why::ProgramIsDirectory),
        Ok(FileType::RegularFile) => match rustix::fs::access(bytes, Access::EXEC_OK) {
            Ok(()) => Ok(candidate),
            Err(_) => Err(Why::ProgramNotExecutable),
        },
        Ok(_) | Err(Errno::ACCESS) => Err(Why::ProgramNotExecutable),
        Err(_) => Err(Why::ProgramMissing),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_cannot_be_started_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().to_str().expect("text");
        fs::write(folder.path().join("plain"), "x").expect("a file");
        fs::create_dir(folder.path().join("folder")).expect("a folder");
        for (name, why) in [
            ("missing", Why::ProgramMissing),
            ("", Why::ProgramMissing),
            ("plain", Why::ProgramNotExecutable),
            ("folder", Why::ProgramIsDirectory),
            ("./folder", Why::ProgramIsDirectory),
            ("./missing", Why::ProgramMissing),
            ("plain/below", Why::ProgramMissing),
        ] {
            assert_eq!(find(name, at, at), Err(why), "{name}");
        }
        assert_eq!(check_cwd(&format!("{at}/plain")), Err(Why::CwdNotDirectory));
        assert_eq!(check_cwd(&format!("{at}/missing")), Err(Why::CwdMissing));
    }

    #[test]
    fn a_program_that_can_be_started_wins_over_one_before_it_that_cannot() {
        let (first, second) = (
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        );
        fs::write(first.path().join("tool"), "x").expect("a file");
        fs::write(second.path().join("tool"), "x").expect("a file");
        fs::set_permissions(
            second.path().join("tool"),
            fs::Permissions::from_mode(0o755),
        )
        .expect("a mode");
        let path = format!(
            "relative:{}:{}",
            first.path().display(),
            second.path().display()
        );
        assert_eq!(find("tool", &path, "/"), Ok(second.path().join("tool")));
    }
}
