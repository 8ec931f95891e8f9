// Package guesttest runs test binaries in guests, for maqettest.InGuest and the command
// maqet-exec.
//
// Everything has the same path in the guest as on the host: the program, its working
// directory, its files, and what its flags name as output. So neither its arguments nor what
// it says about files have to be translated.
package guesttest
