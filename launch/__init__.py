"""Starting, supervising and stopping the service: TorchServe, and the sidecar beside it."""
