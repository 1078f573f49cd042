//! Which machine this is.

/// This machine's name, for people; no key holds it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
