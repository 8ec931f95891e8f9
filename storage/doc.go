// Package storage makes, inspects and deletes disk images.
package storage
