"""TorchServe's handlers: one class a file, glue only. What a prediction is stands in `signalserve`."""
