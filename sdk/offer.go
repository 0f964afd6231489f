package sdk

// Offer is a share of one node, held for one framework until it accepts,
// declines, or the offer expires.
type Offer struct {
	ID        OfferID    `json:"id" msg:"i"`
	Plugin    PluginName `json:"plugin" msg:"p"`
	Demand    string     `json:"demand" msg:"d"`
	Role      RolePath   `json:"role" msg:"r"`
	Node      NodeID     `json:"node" msg:"n"`
	NodeName  string     `json:"node_name" msg:"m"`
	Resources Resources  `json:"resources" msg:"q"`
	Ports     uint32     `json:"ports" msg:"o"` // how many host ports
	Made      Time       `json:"made" msg:"t"`
	Expires   Time       `json:"expires" msg:"e"`
}

// Launch uses part of an offer for one task.
type Launch struct {
	Ref      Ref      `json:"ref" msg:"f"`
	Template Template `json:"template" msg:"t"`
	Tag      string   `json:"tag,omitempty" msg:"g,omitempty"`
}
