//! The codec against `kafka-protocol`'s own, and connections over real loopback sockets.

mod connections;
mod faults;
mod fetched;
mod generate;
mod requests;
mod shapes;
mod support;
