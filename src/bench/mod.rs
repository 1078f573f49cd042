//! The load client: a workload against a server, kept as a raw trace.
