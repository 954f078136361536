//! The coordinator from outside: requests, time and a log in memory. [`world`] holds the rig,
//! [`model`] drives it at random; the others hold one behaviour a test.

mod joining;
mod loading;
mod model;
mod offsets;
mod world;
