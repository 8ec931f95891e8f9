package qapi

import "reflect"

// Branches says of each union with Type and Data what Data is for a type, as a pointer.
var Branches = map[reflect.Type]func(kind string) any{
	reflect.TypeFor[ChardevBackend]():    branchOf(chardevBackendBranch),
	reflect.TypeFor[ImageInfoSpecific](): branchOf(imageInfoSpecificBranch),
	reflect.TypeFor[InputEvent]():        branchOf(inputEventBranch),
	reflect.TypeFor[MemoryDeviceInfo]():  branchOf(memoryDeviceInfoBranch),
	reflect.TypeFor[TransactionAction](): branchOf(transactionActionBranch),
}

func branchOf[K ~string](branch func(K) any) func(string) any {
	return func(kind string) any { return branch(K(kind)) }
}
