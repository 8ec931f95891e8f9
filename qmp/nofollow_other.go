//go:build !unix

package qmp

// noFollow has no equivalent here.
const noFollow = 0
