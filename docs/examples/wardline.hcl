# What a gateway may do at the transit engine of OpenBao or Vault. `create` on encrypt is left out on purpose: with it
# the engine would make a key that it does not know, in the place of one that was destroyed.
path "transit/keys/k-*" { capabilities = ["create", "update", "delete"] }
path "transit/encrypt/k-*" { capabilities = ["update"] }
path "transit/decrypt/k-*" { capabilities = ["update"] }
