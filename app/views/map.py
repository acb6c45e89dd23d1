"""Placeholder until its owner writes it."""

import streamlit as st

st.title("map")
