//! Why an installation failed, read from pip's words.

use crate::exec::guard::ExitFacts;

/// Why pip failed, as far as its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstallCause {
    #[error("a downloaded file does not have the hash in the file; lock it again if the change is meant")]
    HashMismatch,
    #[error(
        "the package index cannot be reached; look at the network, the proxy variables and pip's configuration"
    )]
    Network,
    #[error("the disk is full")]
    DiskFull,
    #[error(
        "the index has no such file for this platform and Python; lock it again on a machine like this one"
    )]
    NotFound,
    #[error("pip ended with {0}")]
    Other(ExitFacts),
}

impl InstallCause {
    /// Network before absence: without a network pip retries, and then says that it found nothing.
    pub(super) fn read(exit: ExitFacts, output: &[String]) -> Self {
        let says = |words: &[&str]| {
            output
                .iter()
                .any(|line| words.iter().any(|word| line.contains(word)))
        };
        if says(&["DO NOT MATCH THE HASHES"]) {
            Self::HashMismatch
        } else if says(&["No space left on device"]) {
            Self::DiskFull
        } else if says(&[
            "Retrying (",
            "Max retries exceeded",
            "Temporary failure in name resolution",
            "ReadTimeout",
        ]) {
            Self::Network
        } else if says(&[
            "No matching distribution found",
            "is not a supported wheel on this platform",
        ]) {
            Self::NotFound
        } else {
            Self::Other(exit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_says_has_a_cause() {
        let cause = |line: &str| InstallCause::read(ExitFacts::Code(1), &[line.to_owned()]);
        assert_eq!(
            cause("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."),
            InstallCause::HashMismatch
        );
        assert_eq!(
            cause("ERROR: No matching distribution found for a==1"),
            InstallCause::NotFound
        );
        assert_eq!(
            cause("WARNING: Retrying (Retry(total=4)) after"),
            InstallCause::Network
        );
        assert_eq!(
            cause("OSError: [Errno 28] No space left on device"),
            InstallCause::DiskFull
        );
        assert_eq!(cause("Killed"), InstallCause::Other(ExitFacts::Code(1)));
    }
}
