//! The alert service over gRPC: placeholder.
