"""From a cell and a corpus to a validation loss: data, model, optimizer, and a visible loop."""
