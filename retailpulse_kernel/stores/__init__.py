"""The stores: a room each, behind the interfaces in `stores.base`."""
