//! The named places at which binaries for tests die, as the sources have them.

use std::path::Path;

use crate::config;
use crate::processes::Service;

/// How the name of every macro begins that names a place.
const MARK: &str = "crash_point";

/// Every place of a service, in the order of its files and lines.
///
/// # Panics
/// When the sources cannot be read.
pub fn crash_points(service: Service) -> Vec<String> {
    let sources = config::repository()
        .join("services")
        .join(service.folder())
        .join("src");
    let mut points = Vec::new();
    read(&sources, &mut points);
    points
}

/// The services that have such places.
///
/// # Panics
/// When the sources cannot be read.
pub fn folders_with_crash_points() -> Vec<String> {
    let services = std::fs::read_dir(config::repository().join("services")).expect("the services");
    let mut found: Vec<String> = services
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| {
            let mut points = Vec::new();
            read(&entry.path().join("src"), &mut points);
            !points.is_empty()
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

fn read(folder: &Path, points: &mut Vec<String>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder of sources")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read(&path, points);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            let named = text
                .match_indices(MARK)
                .filter_map(|(at, _)| named(text.get(at + MARK.len()..)?));
            points.extend(named.map(str::to_owned));
        }
    }
}

/// The name in what is behind [`MARK`], where that is a macro's call: the rest of the macro's name, and a literal.
fn named(behind: &str) -> Option<&str> {
    let rest = behind.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
    let (name, _) = rest
        .strip_prefix("!(")?
        .trim_start()
        .strip_prefix('"')?
        .split_once('"')?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_place_is_found_whatever_its_macro_is_called_and_however_it_is_written() {
        assert_eq!(named("!(\"a-b\");"), Some("a-b"));
        assert_eq!(named("_of_keys!(\n    \"a-b\",\n);"), Some("a-b"));
        for other in [";", " {", "() == Some(name)", "!(name)", "s(service)"] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
