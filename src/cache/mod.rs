//! Digests, blobs, the record log and the lock: what survives a crash.
