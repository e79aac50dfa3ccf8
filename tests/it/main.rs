//! The tests of the whole, in one binary.

#![allow(clippy::unwrap_used)] // a test may stop at once

mod harness;

mod access_log;
mod balance;
mod cli;
mod clocks;
mod commands;
mod conformance;
mod control;
mod corpus;
mod degraded;
mod difference;
mod discovery;
mod doctor;
mod drain;
mod endpoints_h2;
mod endpoints_tls;
mod faults;
mod forwarding;
mod grpc;
mod headers;
mod health;
mod inherit;
mod init;
mod interim;
mod last_good;
mod layers;
mod limits;
mod pages;
mod patience;
mod properties;
mod proxy_protocol;
mod readme;
mod refusals;
mod reload;
mod resumption;
mod retry;
mod routes;
mod routing;
mod service;
mod sticky;
mod systemd;
mod tls;
mod tunnels;
mod upgrade;
mod watch;
mod websocket;
