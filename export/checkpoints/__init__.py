"""Checkpoints as their owners saved them -> plain numbers. Nothing that a file names is ever imported or called.

pickles.py       a plain pickle: read_pickle, and what all pickles go through
torch_files.py   torch.save's zip: read_torch; read_file tells the two apart by content

importing.py     the flow: such a tree -> Imported -> Bundle
contents.py      what a tree says: tensors, symbol, generation, columns, temperature, clamp
formats.py       tensors -> which network of the field they are
pairing.py       which scaler is a checkpoint's; scalers.py reads one
claims.py        what owners say of their network, which nobody can check

files.py            names of files in messages, and what is no file
torch_archive.py    torch.save's zip, looked over before anything is read out of it
pickle_machine.py   opcodes -> values, on a stack of our own
pickle_globals.py   the closed table: dotted name -> a function of ours
pickle_tensors.py   torch's part of that table
pickle_values.py    what stands for a class, an array, a storage
pickle_tree.py      what came out -> a plain tree, small and shallow enough to print
"""
