package storage_test

import (
	"testing"

	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm/storetest"
)

func TestMemoryRegistry(t *testing.T) {
	storetest.RunRegistry(t, func(*testing.T) storage.Registry { return new(storage.MemoryRegistry) })
}
