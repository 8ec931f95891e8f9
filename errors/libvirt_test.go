package errors_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestLibvirtError(t *testing.T) {
	e := &errors.LibvirtError{Op: "start VM", VM: "web", Code: 1, Message: "no such machine", Err: io.EOF}
	require.Equal(t, `start VM "web": libvirt: no such machine`, e.Error())
	require.Same(t, errors.ErrBackend, errors.KindOf(e))
	require.ErrorIs(t, e, io.EOF)
	e.Kind, e.Hint = errors.ErrVMNotFound, "make it"
	require.Same(t, errors.ErrVMNotFound, errors.KindOf(e))
	require.Equal(t, `start VM "web": libvirt: no such machine (make it)`, e.Error())
}
