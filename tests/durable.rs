//! Durable calls (P-12.5): at most one run of each, whatever crashes between handler, commit and reply,
//! and however long clients keep away. By the log alone under a clock of the test's, then over sessions.

#[path = "durable/bounded.rs"]
mod bounded;
#[path = "durable/crashes.rs"]
mod crashes;
#[path = "durable/leases.rs"]
mod leases;
#[path = "durable/rig.rs"]
mod rig;
#[path = "durable/sessions.rs"]
mod sessions;
