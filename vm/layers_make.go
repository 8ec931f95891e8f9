package vm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// MakeLayers makes an empty layer over each image that the guest of the reserved VM writes, but
// those of plugged disks, where its backend has its images. Nobody uses them yet; see
// [SnapshotSpec]. When it fails none is left.
func (r *Reservation) MakeLayers(ctx context.Context) (layers []Layer, err error) {
	inst := r.Instance()
	keeper, err := r.keeper(inst)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.DropLayers(context.WithoutCancel(ctx), layers))
			layers = nil
		}
	}()
	for _, img := range r.Images() {
		if img.Path == "" || img.ReadOnly || inst.Config.diskIndex(img.Name) < 0 {
			continue
		}
		layer := Layer{Disk: img.Name}
		unique := make([]byte, 4)
		rand.Read(unique) // never fails
		if layer.Path, err = keeper.place.ImagePath(ctx, inst.ID, "layer-"+hex.EncodeToString(unique)+".qcow2"); err != nil {
			return layers, err
		}
		made, err := keeper.images.Overlay(ctx, storage.OverlaySpec{Path: layer.Path, Base: img.Path, BaseFormat: img.Format,
			For: storage.For{Owner: inst.ID, Disk: img.Name, Kind: storage.KindLayer}})
		if err != nil {
			return layers, err
		}
		layers = append(layers, layer)
		if made.Base != img.Path && keeper.host != nil {
			return layers, &errors.Error{Kind: errors.ErrSnapshotBlocked, Op: "cover disk " + img.Name, VM: inst.Name,
				Msg: "its image " + img.Path + " is in no storage pool of its host", Hint: "put it into one"}
		}
	}
	return layers, nil
}

// DropLayers deletes layers that MakeLayers made, but those that disks are written in. One that is
// gone is no error.
func (r *Reservation) DropLayers(ctx context.Context, layers []Layer) error {
	inst := r.Instance()
	keeper, err := r.keeper(inst)
	if err != nil {
		return err
	}
	unused := slices.DeleteFunc(slices.Clone(layers), func(l Layer) bool { return slices.Contains(inst.Layers, l) })
	paths := make([]string, len(unused))
	for i, l := range unused {
		paths[i] = l.Path
	}
	return keeper.delete(ctx, paths)
}

func (r *Reservation) keeper(inst Instance) (*imageKeeper, error) {
	b, err := r.m.backend(inst)
	if err != nil {
		return nil, err
	}
	return r.m.imagesOf(b), nil
}
