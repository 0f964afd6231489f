package kernel

import (
	"github.com/drupe-os/drupe/sdk"
)

// ListNodes implements gate.Cluster.
func (k *Kernel) ListNodes() ([]sdk.NodeView, uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	nodes := collect(k.state.Nodes)
	for i := range nodes {
		nodes[i].Usage = k.usages.node(&nodes[i])
	}
	return nodes, k.state.Index()
}

// Node implements gate.Cluster.
func (k *Kernel) Node(idOrName string) (sdk.NodeView, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	n, err := k.state.Node(idOrName)
	n.Usage = k.usages.node(&n)
	return n, err
}

// ListRoles implements gate.Cluster.
func (k *Kernel) ListRoles() ([]sdk.RoleView, uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return collect(k.state.Roles), k.state.Index()
}

// Role implements gate.Cluster.
func (k *Kernel) Role(path sdk.RolePath) (sdk.RoleView, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.state.Role(path)
}

// ListOffers implements gate.Cluster.
func (k *Kernel) ListOffers() ([]sdk.Offer, uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.state.Offers(), k.state.Index()
}

// Summary implements gate.Cluster.
func (k *Kernel) Summary() sdk.ClusterView {
	leader := k.replica.LeaderServer().ID
	k.mu.RLock()
	defer k.mu.RUnlock()
	v := k.state.Summary()
	v.Version, v.ID = k.cfg.Version, k.cfg.Replica.ID
	v.Leader = leader
	v.Servers = []string{k.cfg.Replica.ID}
	for _, s := range k.cfg.Replica.Servers {
		if s.ID != k.cfg.Replica.ID {
			v.Servers = append(v.Servers, s.ID)
		}
	}
	return v
}

// Hash returns the state's hash and the index it speaks of.
func (k *Kernel) Hash() (string, uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.state.Hash(), k.state.Index()
}
