//! What users write: parsing, validation, and messages that name file, line and remedy.
