//! The simulated inference server, labelled as such wherever it shows.
