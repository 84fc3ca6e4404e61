"""Starting, supervising and stopping the service: TorchServe, and the watcher beside it."""
