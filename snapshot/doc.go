// Package snapshot makes, loads, lists and deletes snapshots of VMs, and copies running ones.
//
// There are three kinds. [Internal] ones hold the disks of a VM that is not live, inside its
// qcow2 images. [Memory] ones hold the memory and the devices of a live VM, too. [External]
// ones hold the disks of a live VM in the images as they were, and have the guest write to
// new ones.
//
// A snapshot either exists, whole and listed, or there is an error that says what stood in
// its way. What is about to be done is recorded before it is begun: whoever comes next, in
// any process, finishes or undoes what a crash interrupted ([Keeper.Recover]).
//
// A [Template] is a guest that was captured while it ran ([Coordinator.Capture]); each fork
// ([Coordinator.Fork]) is a copy of it that goes on from there, with disks, addresses and random
// numbers of its own, in a small part of the time of a boot. Forks share the memory that none of
// them has changed. A fork can be captured again. A [Pool] keeps forks ready. docs/forking.md
// says what else they share.
//
// Backups are copies outside of a VM's images: [Coordinator.Backup] copies the disks into a
// folder, whole at first and then what was written since; [Backups], [VerifyBackup] and
// [RestoreBackup] work on such a folder, and need no VM.
package snapshot
