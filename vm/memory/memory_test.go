package memory_test

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/memory"
	"github.com/maqet/maqet/vm/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) vm.Store { return memory.New() })
}

func TestRegistry(t *testing.T) {
	storetest.RunRegistry(t, func(*testing.T) storage.Registry { return memory.New() })
}

func TestRecords(t *testing.T) {
	storetest.RunRecords(t, func(*testing.T) storetest.Records { return memory.New() })
}

func ExampleNew() {
	ctx := context.Background()
	store := memory.New()
	defer store.Close()

	inst, err := store.Create(ctx, vm.Instance{ID: "1d0f6a52-2a8d-4f4e-9d0c-7e1b6c1f9c11", Name: "web", State: vm.Created})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(inst.Name, inst.State, inst.Version)
	// Output: web created 1
}
