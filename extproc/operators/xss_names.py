"""Names of HTML and SVG that run code, or name what does: tags, attributes, events, URL schemes.

Compiled from the HTML standard, SVG 1.1 and the extensions of old browsers; each was checked against what
libmodsecurity's @detectXSS makes of it.
"""

from __future__ import annotations

TAGS = frozenset(
    b"applet base comment embed frame frameset handler iframe import isindex link listener meta noscript object "
    b"script style vmlframe xml xss".upper().split()
)
"""Elements that run code or load it."""

TAG_BEGINNINGS = (b"SVG", b"XSL")
"""Elements of SVG and XSL run code, whatever follows in the name."""

ATTRIBUTES = frozenset(b"dataformatas datasrc filter style".upper().split())
"""Attributes whose value is code, or fetches it."""

ATTRIBUTE_BEGINNINGS = (b"XMLNS", b"XLINK")

URL_ATTRIBUTES = frozenset(
    b"action background by dynsrc folder formaction from handler href lowsrc poster src to values".upper().split()
)
"""Attributes whose value is a URL."""

NAME_ATTRIBUTES = frozenset((b"ATTRIBUTENAME",))
"""Attributes whose value is the name of an attribute that the element sets (SVG's `set` and `animate`)."""

SCHEMES = (b"DATA", b"JAVA", b"VBSCRIPT", b"VIEW-SOURCE")
"""URL schemes that run code or hide it; the beginning suffices."""

_EVENTS = b"""
    abort activate addstream addtrack afterprint afterscriptexecute animationcancel animationend
    animationiteration animationstart audioend audioprocess audiostart autocomplete auxclick beforeactivate
    beforecopy beforecut beforeinput beforematch beforepaste beforeprint beforescriptexecute beforetoggle
    beforeunload beginevent blocked blur bufferedamountlow cached cancel canplay change chargingchange
    chargingtimechange checking click close closing command complete compositionend compositionstart
    compositionupdate connect contentvisibilityautostatechange contextlost contextmenu contextrestored copy
    cuechange currententrychange cut dataavailable datachannel dblclick devicechange devicelight devicemotion
    deviceorientation dischargingtimechange dispose domactivate domcharacterdatamodified domcontentloaded
    domnodeinserted domnoderemoved domsubtreemodified downloading drag drop durationchange emptied encrypted end
    enter error exit fetch finish focus formchange formdata fullscreenchange fullscreenerror gamepadconnected
    gamepaddisconnected gatheringstatechange gesturechange gestureend gesturestart gotpointercapture hashchange
    icecandidate iceconnectionstatechange icegatheringstatechange input install invalid keydown keypress keyup
    languagechange leavepictureinpicture levelchange load lostpointercapture mark message mousedown mouseenter
    mouseleave mousemove mouseout mouseover mouseup mousewheel mozfullscreenchange mozfullscreenerror
    mozpointerlockchange mozpointerlockerror mute navigate negotiationneeded nomatch noupdate obsolete offline
    online open orientationchange overflowchanged pagehide pagereveal pageshow pageswap paste pause play
    pointercancel pointerdown pointerenter pointerleave pointerlockchange pointerlockerror pointermove
    pointerout pointerover pointerrawupdate pointerup popstate processorerror progress propertychange push
    qualitychange ratechange readystatechange rejectionhandled remove repeat reset resize
    resourcetimingbufferfull result resume scroll search securitypolicyviolation seeked seeking select show
    signalingstatechange slotchange sort soundend soundstart sourceclose sourceended sourceopen speechend
    speechstart squeeze stalled start statechange stop storage submit success suspend svgload svgscroll
    textinput timeout timeupdate toggle tonechange touchcancel touchend touchmove touchstart track
    transitioncancel transitionend transitionrun transitionstart unhandledrejection unload unmute update
    upgradeneeded userproximity versionchange visibilitychange voiceschanged volumechange vrdisplayactivate
    vrdisplayconnect vrdisplaydeactivate vrdisplaydisconnect vrdisplaypresentchange waiting webkitanimationend
    webkitanimationiteration webkitanimationstart webkitassociateformcontrols webkitautofillrequest
    webkitbeforetextinserted webkitcurrentplaybacktargetiswirelesschanged webkitfullscreenchange
    webkitfullscreenerror webkitkeyadded webkitkeyerror webkitkeymessage webkitmouseforcechanged
    webkitmouseforcedown webkitmouseforceup webkitmouseforcewillbegin webkitneedkey webkitnetworkinfochange
    webkitplaybacktargetavailabilitychanged webkitpresentationmodechanged webkitshadowrootattached
    webkitsourceclose webkitsourceended webkitsourceopen webkittransitionend wheel write zoom
"""

EVENTS = tuple(b"ON" + event for event in _EVENTS.upper().split())
"""Event handlers; longer names that begin so are meant, too (`onanimationstart`, `onloadend`)."""
