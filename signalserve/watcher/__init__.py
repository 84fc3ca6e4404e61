"""The process beside TorchServe: proves that it answers correctly, and shows what its workers count."""
