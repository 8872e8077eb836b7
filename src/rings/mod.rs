//! rings
#![allow(unsafe_code)]
