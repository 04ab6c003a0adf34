//! cachex
