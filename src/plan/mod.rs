//! Keys against records: what is stale, why, and how the stale part groups into sessions.
