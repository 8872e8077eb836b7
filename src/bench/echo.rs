//! The service that `ringwire serve` runs and `ringwire bench` calls.
//!
//! | method | does |
//! | --- | --- |
//! | 0 | echo: replies with the request's bytes |
//! | 1 | status: replies with one JSON object about the server |
//! | 2 | sink: replies with nothing |
//!
//! One-way messages are counted, and checked where they carry their own label.
