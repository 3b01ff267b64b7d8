"""Snowplow: its enriched events, as tab-separated values without a header or with one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import Adapter
from retailpulse_kernel.shop.adapters.records import Mapped
from retailpulse_kernel.shop.adapters.values import category_path, coupon_of, first_of, nested, text, utc_time, whole

__all__ = ["Snowplow"]

#: The columns of an enriched event in their order, as Snowplow's documentation lists them.
_COLUMNS: Final = tuple(
    """
    app_id platform etl_tstamp collector_tstamp dvce_created_tstamp event event_id txn_id name_tracker v_tracker
    v_collector v_etl user_id user_ipaddress user_fingerprint domain_userid domain_sessionidx network_userid geo_country
    geo_region geo_city geo_zipcode geo_latitude geo_longitude geo_region_name ip_isp ip_organization ip_domain
    ip_netspeed page_url page_title page_referrer page_urlscheme page_urlhost page_urlport page_urlpath page_urlquery
    page_urlfragment refr_urlscheme refr_urlhost refr_urlport refr_urlpath refr_urlquery refr_urlfragment refr_medium
    refr_source refr_term mkt_medium mkt_source mkt_term mkt_content mkt_campaign contexts se_category se_action
    se_label se_property se_value unstruct_event tr_orderid tr_affiliation tr_total tr_tax tr_shipping tr_city tr_state
    tr_country ti_orderid ti_sku ti_name ti_category ti_price ti_quantity pp_xoffset_min pp_xoffset_max pp_yoffset_min
    pp_yoffset_max useragent br_name br_family br_version br_type br_renderengine br_lang br_features_pdf
    br_features_flash br_features_java br_features_director br_features_quicktime br_features_realplayer
    br_features_windowsmedia br_features_gears br_features_silverlight br_cookies br_colordepth br_viewwidth
    br_viewheight os_name os_family os_manufacturer os_timezone dvce_type dvce_ismobile dvce_screenwidth
    dvce_screenheight doc_charset doc_width doc_height tr_currency tr_total_base tr_tax_base tr_shipping_base
    ti_currency ti_price_base base_currency geo_timezone mkt_clickid mkt_network etl_tags dvce_sent_tstamp
    refr_domain_userid refr_device_tstamp derived_contexts domain_sessionid derived_tstamp event_vendor event_name
    event_format event_version event_fingerprint true_tstamp
    """.split()  # noqa: SIM905 - a line for each of 131 columns says no more
)
#: What the e-commerce action of the tracker's plug-in says, and our types.
_TYPES: Final = {
    "product_view": "view",
    "list_click": "click",
    "add_to_cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "transaction": "purchase",
    "refund": "refund",
}
_USERS: Final = ("user_id", "domain_userid", "network_userid")
_TIMES: Final = ("true_tstamp", "derived_tstamp", "dvce_created_tstamp", "collector_tstamp")
_ACTION: Final = "snowplow_ecommerce_action"


class Snowplow(Adapter):
    """One product of an e-commerce action is one event; so is a ``transaction_item`` of the older tracker.

    - Event id: ``event_id``, and the position for an order's products.
    - The action is in ``unstruct_event`` (``snowplow_ecommerce_action``); its products, its transaction or refund are
      entities in ``contexts``.
    - Time: ``true_tstamp``, else ``derived_tstamp``, else the device's, else the collector's; all of them are UTC.
    - User: ``user_id``, else ``domain_userid``, else ``network_userid``. Session: ``domain_sessionid``.
    - Further fields: ``shipping``, ``tax`` and ``discount`` of the transaction on its first line, ``coupon``.
    - A refund without products is one of the whole order, at ``refund_amount``.
    - Lines of the older tracker's orders are counted in the order of the file. Its ``transaction`` rows name no
      product, and are rejected as ``not_mapped``, as are all other events.
    """

    name: ClassVar[str] = "snowplow"
    columns: ClassVar[tuple[str, ...]] = ("event", "event_id", "collector_tstamp", "unstruct_event", "contexts")
    reads: ClassVar[tuple[str, ...]] = _COLUMNS
    headless: ClassVar[tuple[str, ...]] = _COLUMNS

    @classmethod
    def opened(cls, message: bytes) -> Mapping[str, Any]:
        """The columns of a line, which is what the stream of enriched events has; or a JSON object of them."""
        if message.lstrip()[:1] in (b"{", b"["):
            return super().opened(message)
        try:
            values = message.decode().rstrip("\r\n").split("\t")
        except UnicodeDecodeError as error:
            raise EventError("not_utf8", str(error)[:200]) from None
        if len(values) != len(_COLUMNS):
            raise EventError("format:row", f"{len(values)} columns; an enriched event has {len(_COLUMNS)}")
        return dict(zip(_COLUMNS, values, strict=True))

    def adapt(self, record: Mapping[str, Any], row: int) -> list[Mapped]:
        """One event for each product."""
        shared = self._shared(record)
        if record.get("event") == "transaction_item":
            return [self._older(record, shared)]
        action = nested(_data(record.get("unstruct_event")), dict, "unstruct_event") or {}
        said = nested(action.get("data"), dict, "unstruct_event") or {}
        event_type = _TYPES.get(text(said.get("type")) or "") if _ACTION in (text(action.get("schema")) or "") else None
        if event_type is None:
            name = text(record.get("event_name")) or text(record.get("event")) or ""
            raise EventError("not_mapped", f"the event {name[:60]!r} is about no product")
        shared["event_type"] = event_type
        entities = [nested(one, dict, "contexts") or {} for one in _entities(record.get("contexts"))]
        products = _named(entities, "product")
        of_order = next(iter(_named(entities, event_type if event_type == "refund" else "transaction")), {})
        return self._of_products(record, shared, products, of_order)

    def _of_products(
        self,
        record: Mapping[str, Any],
        shared: dict[str, Any],
        products: list[Mapping[str, Any]],
        of_order: Mapping[str, Any],
    ) -> list[Mapped]:
        message, order = text(record.get("event_id")), text(of_order.get("transaction_id"))
        is_order = shared["event_type"] in ("purchase", "refund")
        if not products:
            refunded = self.price(of_order.get("refund_amount"))
            if refunded is None:
                raise EventError("missing:products", f"a {shared['event_type']} without products")
            return [shared | self.whole_refund(f"{message}-1", order, refunded, of_order.get("currency"))]
        once = self.amounts(
            discount=of_order.get("discount_amount"), shipping=of_order.get("shipping"), tax=of_order.get("tax")
        )
        coupon = coupon_of(text(of_order.get("discount_code")))

        def fields_of(line: int, product: Mapping[str, Any]) -> dict[str, Any]:
            fields = {"event_id": message if len(products) == 1 and not is_order else f"{message}-{line}"} | shared
            if is_order:
                fields |= {"order_id": order, "order_line": line} | coupon
            price = self.price(product.get("price"))
            return fields | {
                "product_id": text(product.get("id")),
                "category": category_path(product.get("category")),
                "brand": text(product.get("brand")),
                "price": price,
                "quantity": whole(product.get("quantity")),
                "currency": self.currency(first_of(product.get("currency"), of_order.get("currency")), price),
            }

        return self.lines(products, fields_of, once if is_order else None)

    def _older(self, record: Mapping[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
        """A line of an order of the older tracker, which sends each of them as an event."""
        price, order = self.price(record.get("ti_price")), text(record.get("ti_orderid"))
        if price is None:  # a bad row takes no line of the order
            raise EventError("missing:price", "a line of an order needs a price")
        if order is None:
            raise EventError("missing:order_id", "a line of an order needs ti_orderid")
        message = text(record.get("event_id"))
        return shared | {
            "event_id": message,
            "event_type": "purchase",
            "order_id": message if self.alone else order,
            "order_line": self.next_line(order),
            "product_id": text(record.get("ti_sku")) or text(record.get("ti_name")),
            "category": category_path(record.get("ti_category")),
            "price": price,
            "quantity": whole(record.get("ti_quantity")),
            "currency": self.currency(first_of(record.get("ti_currency"), record.get("tr_currency")), price),
        }

    def _shared(self, record: Mapping[str, Any]) -> dict[str, Any]:
        user = next((found for name in _USERS if (found := text(record.get(name)))), None)
        time = utc_time(first_of(*map(record.get, _TIMES)))
        session = self.session(text(record.get("domain_sessionid")), user, time)
        return {"event_time": time, "user_id": user, "session_id": session}


def _data(value: Any) -> Any:
    """What a self-describing JSON holds beside its schema."""
    return (nested(value, dict, "unstruct_event") or {}).get("data")


def _entities(value: Any) -> list[Any]:
    return nested((nested(value, dict, "contexts") or {}).get("data"), list, "contexts") or []


def _named(entities: list[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The data of the e-commerce entities of one name."""
    such = (one for one in entities if f".ecommerce/{name}/" in (text(one.get("schema")) or ""))
    return [nested(one.get("data"), dict, "contexts") or {} for one in such]
