package snapshot

import (
	"context"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Templates lists the templates that are there, ordered by name.
func (c *Coordinator) Templates(context.Context) ([]Template, error) {
	if c.templates == nil {
		return nil, nil
	}
	list, err := c.templates.list()
	out := make([]Template, len(list))
	for i, rec := range list {
		out[i] = rec.Template
	}
	return out, err
}

// Template returns a template by its name. errors.ErrTemplateNotFound.
func (c *Coordinator) Template(_ context.Context, name string) (Template, error) {
	if c.templates == nil {
		return Template{}, noTemplates("find template " + name)
	}
	rec, err := c.templates.read(name)
	if err != nil {
		return Template{}, err
	}
	return rec.Template, nil
}

// DeleteTemplate deletes a template with its memory and its disks. One that forks or other
// templates stand on is errors.ErrTemplateInUse, which names them: remove those first. One whose
// manifest is damaged, or of another version of maqet, is deleted, too; if that does not even say
// its ID, the images of its disks stay.
func (c *Coordinator) DeleteTemplate(ctx context.Context, name string) (err error) {
	what := "delete template " + name
	if c.templates == nil {
		return noTemplates(what)
	}
	if err := checkTemplateName(name); err != nil {
		return err
	}
	lock, err := c.templates.lock(ctx, name)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, what, "", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	rec, err := c.templates.readToDelete(name)
	if err != nil {
		return err
	}
	users, err := c.usersOf(ctx, rec.ID)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, what, "", err)
	}
	if len(users) > 0 {
		shown := strings.Join(users[:min(len(users), namesShown)], ", ")
		return &errors.Error{Kind: errors.ErrTemplateInUse, Op: what, Msg: "it is used by " + shown, Hint: "remove those first"}
	}
	return errors.Wrap(errors.ErrSnapshot, what, "", c.templates.remove(ctx, rec))
}

// usersOf names the VMs and the templates that stand on a template, and images of others.
func (c *Coordinator) usersOf(ctx context.Context, id string) ([]string, error) {
	vms, err := c.vms.List(ctx, vm.Filter{})
	if err != nil {
		return nil, err
	}
	list, err := c.templates.list()
	if err != nil {
		return nil, err
	}
	disks, err := c.templates.disksOver(ctx, id)
	if err != nil {
		return nil, err
	}
	var users []string
	for _, inst := range vms {
		if standsOn(&disks, inst.ID) || inst.Fork != nil && inst.Fork.ID == id {
			users = append(users, "VM "+inst.Name)
		}
	}
	for _, rec := range list {
		if standsOn(&disks, rec.ID) || rec.ParentID == id {
			users = append(users, "template "+rec.Name)
		}
	}
	for _, f := range disks {
		users = append(users, "image "+f.Path)
	}
	return users, nil
}

// standsOn reports whether some of these images are of this owner, and takes them out.
func standsOn(disks *[]storage.File, owner string) bool {
	all := len(*disks)
	*disks = slices.DeleteFunc(*disks, func(f storage.File) bool { return f.Owner == owner })
	return len(*disks) < all
}
