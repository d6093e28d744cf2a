//! What a data directory is on disk: ours alone, of a layout that this program knows, with a folder for sockets
//! whose names are short enough.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// The layout that this program writes. A directory with a higher number is refused untouched.
const LAYOUT_VERSION: u32 = 1;
/// The longest path of a Unix socket is 107 bytes; the longest name that we put below the folder has 20.
const SOCKET_FOLDER_MAX_BYTES: usize = 86;

/// Makes a directory that only we may enter, or checks that it is one.
pub(super) fn make_private(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make the directory {}", path.display()))?;
    let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    ensure!(
        metadata.uid() == rustix::process::geteuid().as_raw(),
        "{} belongs to another user; choose another directory with --data-dir",
        path.display()
    );
    ensure!(
        metadata.permissions().mode() & 0o077 == 0,
        "others may read {}; run `chmod 700 {}`",
        path.display(),
        path.display()
    );
    Ok(())
}

pub(super) fn check_version(path: &Path) -> anyhow::Result<()> {
    let file = path.join("version");
    match fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(version) if version <= LAYOUT_VERSION => Ok(()),
            Ok(version) => bail!(
                "{} was written by a newer sandgate (layout {version}, this one knows {LAYOUT_VERSION}); upgrade sandgate, or choose another directory with --data-dir",
                path.display()
            ),
            Err(_) => bail!(
                "{} does not hold a number; this is not a data directory of sandgate",
                file.display()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let foreign = fs::read_dir(path)
                .with_context(|| format!("list {}", path.display()))?
                .next()
                .is_some();
            ensure!(
                !foreign,
                "{} is not empty and not a data directory of sandgate; choose another directory with --data-dir",
                path.display()
            );
            write_whole(&file, format!("{LAYOUT_VERSION}\n").as_bytes())
        }
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

pub(super) fn socket_folder(
    data: &Path,
    name: &str,
    runtime_home: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    let inside = data.join("run");
    let folder = if inside.as_os_str().as_bytes().len() <= SOCKET_FOLDER_MAX_BYTES {
        inside
    } else if let Some(home) = runtime_home {
        home.join(format!("sandgate-{name}"))
    } else {
        PathBuf::from(format!(
            "/tmp/sandgate-{}-{name}",
            rustix::process::geteuid().as_raw()
        ))
    };
    ensure!(
        !folder.is_symlink(),
        "{} is a symbolic link; remove it, since sockets are not put behind one",
        folder.display()
    );
    make_private(&folder)?;
    Ok(folder)
}

/// Writes a file so that a reader sees the old content or the new one.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// FNV-1a over the path: names a file after a directory; nothing relies on it being hard to collide.
pub(super) fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
