//! The folders of this host that a launcher gives to its containers.

use std::io::ErrorKind;
use std::path::Path;

use super::Finding;
use crate::config::container::Mount;

/// Whether the folders of a launcher are there: one finding for each that is not, else one for all. None where it names
/// none.
pub fn of_launcher(name: &str, file: &Path, mounts: &[Mount]) -> Vec<Finding> {
    let check = format!("mounts of {name}");
    let is_missing = |folder: &Path| {
        let looked = folder.metadata();
        looked.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    let missing = mounts.iter().filter(|mount| is_missing(&mount.host));
    let mut findings: Vec<_> = missing
        .map(|mount| {
            let (folder, file) = (mount.host.display(), file.display());
            let owner = if mount.write {
                format!(" && sudo chown $USER {folder}")
            } else {
                String::new()
            };
            Finding::wrong(
                &check,
                format!("`{folder}` of `{file}` is not there: no container would start"),
                format!("sudo mkdir -p {folder}{owner}, or name another folder in `{file}`"),
            )
        })
        .collect();
    if findings.is_empty() && !mounts.is_empty() {
        let folders = mounts.iter().map(|mount| format!("`{}`", mount.host.display()));
        findings.push(Finding::ok(check, folders.collect::<Vec<_>>().join(", ")));
    }
    findings
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::Level;
    use super::*;

    #[test]
    fn each_folder_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().to_owned();
        let of = |hosts: &[&Path]| {
            let mounts = hosts.iter().map(|host| Mount {
                host: host.to_path_buf(),
                container: None,
                write: true,
            });
            of_launcher("lab", Path::new("runners/lab.yaml"), &mounts.collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[&here])[0].level, Level::Ok);
        let (one, two) = (here.join("one"), here.join("two"));
        let [first, second] = &of(&[&one, &here, &two])[..] else {
            panic!("two are not there")
        };
        assert_eq!((first.level, second.level), (Level::Wrong, Level::Wrong));
        assert!(first.found.contains("runners/lab.yaml"), "{first:?}");
        let mend = format!("mkdir -p {}", one.display());
        assert!(first.mend.as_ref().unwrap().contains(&mend), "{first:?}");
    }
}
