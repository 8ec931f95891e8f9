// Package forks tests what becomes of templates and forks when the process that has captured
// them is killed: at each step of a capture, and while forks run.
package forks
