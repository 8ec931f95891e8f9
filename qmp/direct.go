package qmp

// tryWrite writes what can be written at once, perhaps nothing, with files attached to
// the first byte.
type tryWrite func(data []byte, files *passedFiles) (int, error)

// stepFunc writes something by way of try; see session.step.
type stepFunc func(try tryWrite) (done, full bool, err error)
