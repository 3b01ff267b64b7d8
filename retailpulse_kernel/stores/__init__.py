"""The stores: one module each, behind the interfaces in `stores.base`."""
